"""The studio's pages in the browser: a client of the API and of nothing else.

`start` runs the API and the page server as two processes and stops both. Whatever a page shows or does goes through
`client`, so a script with the API can do all of it. Streamlit is imported by the pages, never by the command line.
"""
