"""What every host shares and no host owns: the connection's life, jobs on their way, forms, history, settings.

Standard library and bridge_protocol alone, Python 3.10 and later; no Qt, no bpy, no gi. A host makes one `Studio`,
calls its `pump` from its main thread, and draws what the studio holds.
"""
