"""``python -m onnx_server --model DIR``"""

import sys

from onnx_server.server import main

if __name__ == "__main__":
    sys.exit(main())
