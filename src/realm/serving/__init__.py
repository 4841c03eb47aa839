"""One knowledge base for many askers: HTTP, a web page, metrics, and tools for language models (MCP).

    request ─► edge ─► guard ─► bodies ─┬─► question_api, document_api, state_api ─► Service      (HTTP)
                                        └─► mcp_transport ─┐
                           standard input ─► mcp_transport ─┴─► mcp_tools ─► Service               (MCP)
    Service ─► MicroBatcher: one thread that owns the model ─► OpenQA.find ─► OpenQA.read
       └─► Library: the version being answered from; a newer one is opened beside it and put in its place
       └─► writing: documents in and out, through the writer of `realm index`

The service knows no HTTP. What it needs is in the extra `serve`. May not know the command line.

Reading order: limits, failures, logs, metrics, batching, bounded, questions, documents, library, writing, service (no
HTTP); settings, texts, shapes, problems, edge, guard, bodies, access, question_api, events, document_api, state_api,
assets, app (HTTP); protocol, runner (the server); mcp_shapes, mcp_tools, mcp_transport (MCP). The web page's files are
in `page`.
"""
