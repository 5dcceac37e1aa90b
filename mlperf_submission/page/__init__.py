"""The results page: what was measured, on what, how, and whether to believe it.

`system_page.write_page` makes the page of one system out of its submission tree; `fleet.write_fleet` makes
the page of all systems of a tree with a page for each; `trend.render_trend` makes that of one system over
time, out of the store's manifests. Pages are single files that need no network and no JavaScript.
"""
