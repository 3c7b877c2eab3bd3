"""How docs/accuracy.md is made: `python -m app.accuracy --date DATE`.

The document has two halves, radiographs and MR volumes; each is written by its own measurement (`parts`).

- `measure`, `volumes`: run the pack over held-back phantoms and over real images, and score what it finds;
- `keeping`: does that in processes, and keeps what was measured while weights and code are the same;
- `document`, `volume_document`: say in Markdown what was measured, against the aims;
- `pictures`, `volume_pictures`: draw what was found over the image, so that a person can judge.
"""
