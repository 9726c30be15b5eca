"""Wire protocols, one package each: codec, states and core are pure, adapters are thin."""
