"""Embeddings of known people -> how well one person is told from two.

Knows arrays, never a model. A score is the cosine of two embeddings; larger is more
alike. A pair is genuine where both images are of one person, else impostor.

pairs        which images are compared, and in which folds
rates        scores -> ROC: AUC, EER, TAR at a FAR, thresholds
calibration  scores -> likelihood ratios, and what they cost
held_out     thresholds and calibrations chosen on other people than they judge
groups       FMR and FNMR a group
measured     all figures with their intervals over people
"""
