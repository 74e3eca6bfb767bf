"""Stay points: where people stayed, from their GPS traces (DataFusion 6.1.1, Algorithm 4)."""
