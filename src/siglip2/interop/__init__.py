"""The towers in the clothes that other libraries expect."""
