"""The web page of a node: jobs and processes, never a patient."""

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from fastapi.templating import Jinja2Templates

from app.dashboard.http_security import secure
from app.dashboard.metrics import metrics_text, missing_processes
from app.dashboard.queue_sight import QueueSight
from app.jobs.comparison import odd_words, unready_words
from app.jobs.discarded import DiscardRecords
from app.jobs.layout import StorageLayout
from app.jobs.queue import JobQueue, queue_of
from app.jobs.space import space_fault
from app.jobs.telling import as_told
from app.settings import Settings

SHOWN_JOBS = 50
SHOWN_DISCARDED = 20
STYLE_SHEET = Path(__file__).parent / "templates" / "dashboard.css"

_TEMPLATES = Jinja2Templates(directory=Path(__file__).parent / "templates")


def build_page(settings: Settings) -> FastAPI:
    """Return the web application of a node.

    Args:
        settings: of the node.
    """
    layout = StorageLayout(settings.storage.resolve())
    queue = QueueSight(queue_of(settings))
    page = FastAPI(title="Spondyl", docs_url=None, redoc_url=None, openapi_url=None)
    secure(page, host_names=settings.dashboard.host_names)

    def full() -> str:
        return space_fault(layout.root, settings.node.limits.minimum_free_mib << 20) or ""

    @page.get("/healthz")
    def healthz() -> PlainTextResponse:
        # 200 also where it is full: an orchestrator would start the node again, and win no room by it
        return PlainTextResponse("".join(f"{word}\n" for word in ("alive", full()) if word))

    @page.get("/readyz")
    def readyz() -> PlainTextResponse:
        missing = missing_processes(layout)
        if missing:
            return PlainTextResponse(f"no sign of life from: {', '.join(missing)}\n", status_code=503)
        queue.ask(JobQueue.open_counts)
        for fault in (queue.fault, unready_words(layout), full()):
            if fault:
                return PlainTextResponse(f"{fault}\n", status_code=503)
        # what is odd is one job's matter: a node that is taken out of service for it would receive nothing at all
        return PlainTextResponse("".join(f"{line}\n" for line in ("ready", *odd_words(layout))))

    @page.get("/metrics")
    def metrics() -> Response:
        content = metrics_text(layout, queue.counts())
        return Response(content, media_type="text/plain; version=0.0.4")

    @page.get("/dashboard.css")
    def style_sheet() -> FileResponse:
        return FileResponse(STYLE_SHEET, media_type="text/css")

    @page.get("/", response_class=HTMLResponse)
    def jobs(request: Request) -> HTMLResponse:
        known = queue.ask(lambda asked: asked.recent(limit=SHOWN_JOBS))
        context = {
            "node": settings.node,
            "destinations": settings.destinations,
            "jobs": as_told(layout, known or ()),
            "queue_fault": queue.fault,
            "discarded": DiscardRecords(layout).recent(limit=SHOWN_DISCARDED),
            "missing": missing_processes(layout),
        }
        return _TEMPLATES.TemplateResponse(request, "jobs.html", context)

    return page
