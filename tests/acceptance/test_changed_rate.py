"""A campaign gets another rate while it runs: nothing is restarted, and what waits already goes by it."""

from __future__ import annotations

from typing import Any

from tests.acceptance.test_crashes import people


def test_a_new_rate_takes_hold_of_messages_that_a_worker_holds_already(make_site: Any) -> None:
    with make_site(workers=1) as site:
        blast = site.send("blast", people(90), rate="1/s")
        site.wait("it has begun, slowly", lambda: site.statuses(blast)["accepted"] >= 2)
        assert site.statuses(blast)["accepted"] < 30
        assert "200/s" in site.run("campaigns", "set", blast, "--rate", "200/s")
        # By its first rate this would take a minute and a half.
        site.wait("it ends", lambda: site.statuses(blast)["accepted"] == 90, 30)
        site.agrees()
