"""What can be asked of a trained model and its data: one file a question, with `QUESTION`, `NEEDS`, `inspect(trace)` and `plant(seed)`.

All read the same trace (`_trace`): what the model as it was and as it is says and sees of the user's own examples, from one pass of
each. `NEEDS` names the products of the trace that a question cannot do without; where one is missing, the answer is why. `plant`
makes a trace with a known answer, and its clean twin: by it the tests judge the inspection.
"""
