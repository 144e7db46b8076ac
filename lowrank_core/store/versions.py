"""The code version of each kind of artefact: raise it by hand when the code that makes the kind changes its result."""

VERSIONS = {
    "anatomy": 1,  # sites and sizes of a model
    "channels": 2,  # ChannelSummary of an input group
    "gram": 3,  # second moment and means of an input group
    "fisher": 1,  # output-gradient moments of a site
    "spectrum": 5,  # Spectrum of a site under a method
    "factors": 1,  # factors of every rank of a large model's unit
    "walk": 1,  # what the anchored walk made of a large model's block
    "points": 4,  # measured sensitivity points of a site
    "evaluation": 3,  # nll of a model under a plan on a text
    "kv": 1,  # moments of a block's keys and values, and of the loss gradient there
    "kv-curves": 1,  # predicted loss of every number of latents, block by block
    "text": 1,  # token ids a model wrote itself
    "pace": 1,  # the largest rank that is as fast as dense, of every unit on a machine
    "products": 1,  # seconds of matrix products on a device
}
