"""The doors: Python (`Library`) and the command line. They wire things together and hold no logic of the domain."""
