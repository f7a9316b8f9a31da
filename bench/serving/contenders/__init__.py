"""What others serve: a search by LangChain, and a classifier by MLflow. They run in bench/.venv."""
