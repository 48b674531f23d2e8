"""camaudit: does the classifier look at the object when it names it?"""

__version__ = "0.1.0"
