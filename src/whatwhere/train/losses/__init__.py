"""What a network's mistakes cost; one file for each kind of answer."""
