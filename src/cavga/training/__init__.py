"""A data set -> a run folder.

Reading order of the default (`recommended`, variant r-s, pretrained weights): `train` composes everything; `fit` says
which fits a configuration needs; `fit_latent` sets mu by whitening frozen features, `fit_prior` the prior of z, and
`fit_guided_head` trains a classifier on synthetic anomalies; `fit_thresholds` calibrates. What these set lies in
`cavga.model.latent`, `cavga.model.prior` and `cavga.model.classifiers`; `cavga.inference.graph` reads it at test.

The loop (`loop`, and of one batch `objectives`) trains only a decoder there, for one epoch, and no score reads it.
With preset `paper` it trains everything; without pretrained weights the encoder, and in s variants the classifier too.
See docs/architecture.md.
"""
