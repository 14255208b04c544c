# Prints PDQ hash and quality of images as pdqhash computes them, which wraps the reference implementation in C++:
#   pip install pdqhash==0.2.8 pillow; python oracle.py FILE...
import os
import sys

import numpy
import pdqhash
from PIL import Image

for path in sys.argv[1:]:
    bits, quality = pdqhash.compute(numpy.asarray(Image.open(path).convert("RGB")))
    print(os.path.splitext(os.path.basename(path))[0], numpy.packbits(bits).tobytes().hex(), quality)
