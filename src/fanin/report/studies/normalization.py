from fanin.report.studies.base import *
STUDY = Study(claims=lambda e: [])
