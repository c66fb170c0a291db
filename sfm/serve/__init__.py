"""The hub as a local page (`sfm serve`).

`app` holds the routes, `doors` who may call them, `workers` the processes that do the work, `work`
what such a process does (`predicting`, `searching`, `simulating`, `shelf`), `static/` the page. The
server's own process reads no file of a client's and imports no torch; FastAPI and uvicorn come with
the extra `serve`.
"""
