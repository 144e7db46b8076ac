"""The studio: gradio lives here and in app.py only.

`build` makes the page, one file per page and one per its handlers.
"""
