"""The code version of each kind of artefact: raise it by hand when the code that makes the kind changes its result."""

VERSIONS = {
    "anatomy": 1,  # sites and sizes of a model
    "channels": 1,  # ChannelSummary of an input group
    "gram": 1,  # second moment and means of an input group
    "gradient": 1,  # mean squared output gradient of every site
    "spectrum": 1,  # Spectrum of a site under a method
    "points": 1,  # measured sensitivity points of a site
    "evaluation": 1,  # nll of a model under a plan on a text
}
