"""Values in; tables, figures, Markdown and HTML out."""
