"""One knowledge base for many askers: HTTP, metrics, and whatever else speaks to people's programs.

    request ─► edge ─► guard ─► bodies ─► question_api, document_api, state_api ─┐          (HTTP)
                                                                  tools of other kinds ─► Service
    Service ─► MicroBatcher: one thread that owns the model ─► OpenQA.ask_many
       └─► Library: the version being answered from; a newer one is opened beside it and put in its place
       └─► writing: documents in and out, through the writer of `realm index`

The service knows no HTTP. What it needs is in the extra `serve`. May not know the command line.

Reading order: limits, failures, logs, metrics, batching, bounded, questions, documents, library, writing, service (no
HTTP); settings, shapes, problems, edge, guard, bodies, access, question_api, events, document_api, state_api, assets,
app (HTTP); protocol, runner (the server). The files of the web page are in `page`.
"""
