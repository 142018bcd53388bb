"""The supervision tree as a pure machine: OTP ``supervisor`` semantics, decided here and carried out elsewhere."""
