"""What photographs of people are worth for recognition.

``appraisal`` says what one photograph is like, ``person`` how the photographs of one person go together, and
``refusal`` which photographs ``enroll --strict`` refuses. ``page`` shows the people of a gallery as one HTML page.
"""

from __future__ import annotations

from edge_sphereface.enrollment.appraisal import Appraisal, appraise
from edge_sphereface.enrollment.person import ExpectedRecognition, PersonReport, PhotographReport, report_person

__all__ = [
    "Appraisal",
    "ExpectedRecognition",
    "PersonReport",
    "PhotographReport",
    "appraise",
    "report_person",
]
