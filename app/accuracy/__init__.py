"""How docs/accuracy.md is made: `python -m app.accuracy --date DATE`.

- `measure`: runs the pack over held-back phantoms and over real radiographs, and scores what it finds;
- `document`: says in Markdown what was measured, against the aims;
- `pictures`: draws what was found over the image, so that a person can judge.
"""
