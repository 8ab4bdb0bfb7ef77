"""Transfer: how well does a trunk serve detection on COCO? Words: trunk, detector, split, scene, AP."""
