"""Results in the forms that other tools take: tables, shap's explanations, files of figures."""
