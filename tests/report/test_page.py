"""The report stands alone."""

import re

from lowrank_core.plots.tradeoff import tradeoff
from lowrank_core.report.page import Section, report


def test_a_report_needs_no_network():
    figure = tradeoff({}, [], (1e6, 5.0), {"svd": "SVD"})
    text = report("A <title>", [Section("One", "a & b", figure=figure), Section("Two", code="x < 1", figure=figure)])
    assert "A &lt;title&gt;" in text and "a &amp; b" in text and "x &lt; 1" in text
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", text))
    assert tags and not [t for t in tags if re.search(r"(src|href)=", t) and "data:" not in t]
    assert text.count("plotly.js v") == 1, "plotly is inside, once"
    assert text.count('class="plotly-graph-div"') == 2
