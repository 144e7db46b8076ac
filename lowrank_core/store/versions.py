"""The code version of each kind of artefact: raise it by hand when the code that makes the kind changes its result."""

VERSIONS = {
    "channels": 1,  # ChannelSummary of an input group
    "gram": 1,  # second moment and means of an input group
    "gradient": 1,  # output-gradient second moment of a site
    "spectrum": 1,  # Spectrum of a site under a method
    "factors": 1,  # factors of a site at every rank
    "points": 1,  # measured sensitivity points of a site
    "dense": 1,  # per-window nll of the dense model on the probe windows
    "evaluation": 1,  # nll of a model under a plan on a text
}
