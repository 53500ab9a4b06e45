"""The tiler over HTTP (api.md 5 and 6): one handler per verb, and tables of paths of both api-versions onto them.

Entry point: `ENDPOINTS`. `targets` says whose pixels a path means, `images`, `values` and `documents` are the verbs,
`answers` is how they answer, `routes` the tables.
"""

from graticule.api.data.routes import ENDPOINTS

__all__ = ["ENDPOINTS"]
