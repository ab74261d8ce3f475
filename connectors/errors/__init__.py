"""The connector `errors`: what failed, in every flow, mailed to the persons in charge."""
