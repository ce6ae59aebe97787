"""Series of numbers in time → what a model reads: steps of time, phases of the calendar."""
