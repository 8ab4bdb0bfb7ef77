"""Data: which images does a run see, where do they lie on disk, and are they the right ones?

A *data set* is an entry of DATASETS; a *copy* is a folder with the same images in other files. *Images* are pixels in
memory, *Files* are paths of images that are decoded when they are needed. The *content digest* is the checksum of what
was read: it identifies data, a name does not.
"""
