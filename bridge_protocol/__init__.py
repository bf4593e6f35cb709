"""The wire between the tools that artists use and the server that paints.

Standard library and msgpack alone (the client adds websockets), Python 3.10 and later, so that every
plugin can carry this package inside it.
"""
