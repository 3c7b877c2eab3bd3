"""SpineFM: vertebrae in lateral radiographs (Simons & Papież, 2024), from the paper and its published weights."""
