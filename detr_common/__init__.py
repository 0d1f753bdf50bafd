"""What both DETR packages share and what has no framework in it: options, photographs, Jittor's set-up."""
