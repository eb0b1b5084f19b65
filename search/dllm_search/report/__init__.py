"""What a search came to: choice, test split, ablation, tables, pages, figures."""
