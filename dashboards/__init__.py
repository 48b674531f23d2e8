"""The Streamlit dashboard over a finished or running audit. Needs no torch."""
