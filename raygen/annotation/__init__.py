"""What people do at POIs: activity types of DataFusion 4.1.1 by a language model or by OSM tags.

tags       the heuristic: a published table from OSM tags to types and categories
prompts    what the language model is asked
scoring    its own likelihoods of the 15 types, with the shared prompt computed once
model      the language model, as it comes or with a fitted adapter
answers    distinct texts asked once and kept
pois       POIs in files and cities
annotate   the command
metrics    how good an annotation is
"""
