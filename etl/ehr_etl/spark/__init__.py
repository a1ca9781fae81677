"""The one Spark session: Java, Delta's jars, settings, and errors without values of rows.

In: a scratch folder and what an operator may set.
Out: a SparkSession; SQL literals; translated errors.
May import: nothing of the lake.
"""
