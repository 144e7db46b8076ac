"""The code version of each kind of artefact: raise it by hand when the code that makes the kind changes its result."""

VERSIONS = {
    "anatomy": 1,  # sites and sizes of a model
    "channels": 2,  # ChannelSummary of an input group
    "gram": 2,  # second moment and means of an input group
    "gradient": 1,  # mean squared output gradient of every site
    "spectrum": 2,  # Spectrum of a site under a method
    "points": 2,  # measured sensitivity points of a site
    "text": 1,  # token ids a model wrote itself
    "evaluation": 2,  # nll of a model under a plan on a text
}
