"""The pages of the site that are made and not written; `hooks` is what MkDocs calls."""
