"""What each check gets: the running pipeline, the browser, and what earlier checks have left for it."""

import dataclasses
import os

import browser
import pipeline

SCREENS = {
    "/": "Overview",
    "/events": "Events",
    "/dead-letters": "Dead letters",
    "/proof": "Proof",
    "/connect": "Connect",
}


@dataclasses.dataclass
class World:
    pipeline: pipeline.Pipeline
    browser: browser.Browser
    pictures: str | None = None
    # Paths of pages that checks have opened, by a name: later checks look at the same pages in other ways.
    pages: dict = dataclasses.field(default_factory=dict)

    def visit(self, **options):
        """A visit to the demo's console, as its operator without a login."""
        return self.browser.visit(self.pipeline.console, **options)

    def visit_as(self, role, **options):
        """A visit to the console with a login."""
        return self.browser.visit(self.pipeline.login, role=role, **options)

    def remember(self, name, visit):
        self.pages[name] = visit.page.url.removeprefix(visit.origin)

    def every_page(self):
        """Paths of the pages of the demo's console, by name: the five screens, and those that checks have opened."""
        return {name: path for path, name in SCREENS.items()} | self.pages

    def picture(self, visit, name, **options):
        """Keeps a picture of the page, if --pictures asks for it."""
        if self.pictures:
            os.makedirs(self.pictures, exist_ok=True)
            visit.page.screenshot(path=os.path.join(self.pictures, f"{name}.png"), animations="disabled", **options)
