"""How access beyond sharing comes about lawfully: step-up, emergency, holds and carers."""
