"""Named, immutable versions of datasets and models; stored files; what becomes of them.

    file, folder -> objects (each content once, in a folder or on S3) -> version: manifest, facts, parents, tags, scores
    version -> folder of this machine (hard links, or fetched) -> what jobs and engines read

`datasets`, `models`, `files`, `connections` are what others call. `store` has the rows, `contents` the bytes.
"""
