"""What a process must import at its start so that its clock can be made to jump."""
