"""The project's claims: experiments that were fixed before their first meta-test."""
