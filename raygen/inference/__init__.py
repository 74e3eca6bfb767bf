"""What people do where they stay: T = argmax P(T | POI, S), DataFusion 4.1.1 and 6.2.1.

settings   thresholds and assumptions
temporal   P(start hour, duration | type) and P(type), from the surveys
pois       where the POIs are, and P(place | type)
places     stays of a person in one place
rules      home, work and school, from all days of a person
bayes      the rest, visits to one place together
infer      a table of stay points to types with probabilities
people     who an anonymous person may be (6.1.1)
completion days with what was observed and what reconstruction fills in
"""
