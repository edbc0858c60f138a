"""Pictures of the five screens: light, dark and narrow. Only with --pictures."""

from checks import check
from world import SCREENS

LOOKS = {
    "light": {"scheme": "light", "width": 1280},
    "dark": {"scheme": "dark", "width": 1280},
    "narrow": {"scheme": "light", "width": 320, "height": 700},
}


@check("each screen is drawn: light, dark and narrow")
def pictures(world):
    for look, options in LOOKS.items():
        with world.visit(**options) as visit:
            for path, name in SCREENS.items():
                visit.open(path)
                if path == "/connect":
                    running = visit.page.locator("#checks[hx-trigger]")
                    visit.wait(lambda: running.count() == 0, "the end of the checks", 60)
                world.picture(visit, f"{name.lower().replace(' ', '-')}-{look}", full_page=True)
